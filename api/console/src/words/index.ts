import { en, type Words } from './en';

/** The sentences of the chosen language; English is the only one yet. */
export const words: Words = en;
