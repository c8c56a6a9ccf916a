/** One packet that any Palisade recognises, as a command for bash: the shortest way to see a block happen. */

/** The documentation's placeholder, where no host has told its address. */
const NO_ADDRESS = 'HOST';

/** The host part of `192.0.2.1:7400`, `[2001:db8::1]:7400` or a bare address. */
export function hostPart(address: string | null): string {
  if (address === null || address === '') return NO_ADDRESS;
  const bracketed = /^\[([^\]]+)\]/.exec(address);
  if (bracketed?.[1] !== undefined) return bracketed[1];
  const plain = /^([^:]+):\d+$/.exec(address);
  return plain?.[1] ?? address;
}

export function scannerCommand(address: string | null): string {
  const host = hostPart(address);
  const lines = [
    `OPTIONS sip:100@${host} SIP/2.0`,
    'Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-1;rport',
    'From: <sip:100@192.0.2.1>;tag=1',
    `To: <sip:100@${host}>`,
    'Call-ID: 1@192.0.2.1',
    'CSeq: 1 OPTIONS',
    'User-Agent: friendly-scanner',
    'Content-Length: 0',
  ];
  return `printf '${lines.join('\\r\\n')}\\r\\n\\r\\n' > /dev/udp/${host}/5060`;
}
