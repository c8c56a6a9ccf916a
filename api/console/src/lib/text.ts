/**
 * Text that an attacker chose. It is only ever a text node; this makes the characters visible that could hide,
 * reorder or break what stands around it. The API does so too: two locks on one door.
 */

/** Longer text says nothing more in a table. */
export const SHOWN_CHARACTERS = 200;

/** Controls, format characters (bidi, zero width, tags), line and paragraph separators, lone surrogates, private use. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\u115f\u1160\u3164\uffa0\u2800]/u;

function escape(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, '0')}`;
}

/** The text with every invisible character written out, cut after {@link SHOWN_CHARACTERS}. */
export function visible(text: string): string {
  let shown = '';
  let length = 0;
  for (const character of text) {
    if (length === SHOWN_CHARACTERS) return `${shown}…`;
    shown += INVISIBLE.test(character) ? escape(character) : character;
    length += 1;
  }
  return shown;
}

/** A host's reason as a sentence among others: reasons come without a full stop. */
export function sentence(reason: string): string {
  const shown = visible(reason);
  return /[.!?…]$/.test(shown) ? shown : `${shown}.`;
}
