import { readFileSync } from 'node:fs';

import { refused } from './errors.js';
import { isToken, type Settings } from './options.js';

/** How old what was read of a token's file may be, in milliseconds. */
const TOKEN_AGE_MS = 1_000;

/** The token that is shown, read again when its file may have changed. */
export class Access {
  readonly #file: string | undefined;
  #token: string | undefined;
  #readAt = performance.now();

  constructor(settings: Settings) {
    this.#file = settings.tokenFile;
    this.#token = settings.tokenFile === undefined ? settings.token : readToken(settings.tokenFile);
  }

  /** The token. One that cannot be read now is as it was: its file may be half written. */
  bearer(): string | undefined {
    if (this.#file !== undefined && performance.now() - this.#readAt > TOKEN_AGE_MS) {
      this.#readAt = performance.now();
      try {
        this.#token = readToken(this.#file);
      } catch {
        // as documented: the last one stays
      }
    }
    return this.#token;
  }

  /** Has the file read again at the next call. */
  forget(): void {
    this.#readAt = -Infinity;
  }
}

/** Reads a token; no error repeats what is in the file. */
function readToken(file: string): string {
  let token: string;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch {
    throw refused('TOKEN_FILE', `the token's file cannot be read: ${file}`);
  }
  if (!isToken(token)) {
    throw refused('TOKEN_FILE', `the file does not hold one token, and nothing else: ${file}`);
  }
  return token;
}
