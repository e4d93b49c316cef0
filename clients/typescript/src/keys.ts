import { randomBytes, randomUUID } from 'node:crypto';

import { refused } from './errors.js';
import { Purpose, joined, requestOf } from './request.js';

const MOST_KEY_BYTES = 255;
const ANY_UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const UUID_4_OR_7 = /^[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
const MAIL = /[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}/;
const DIGITS = /[0-9](?:[ -]?[0-9])*/g;

/** What a key looks like that it should not be: keys are stored, and operators see them. */
export type Warning = 'mail_address' | 'card_number';

/** Refuses what cannot be a key: `empty`, `too_long` (more than 255 bytes of UTF-8), `lone_surrogate`. */
export function checkKey(key: string): void {
  if (key === '') {
    throw refused('empty', 'the key is empty');
  }
  if (!key.isWellFormed()) {
    throw refused('lone_surrogate', 'the key has half of a surrogate pair');
  }
  const bytes = Buffer.byteLength(key);
  if (bytes > MOST_KEY_BYTES) {
    throw refused('too_long', `the key has ${String(bytes)} bytes, and at most ${String(MOST_KEY_BYTES)} are allowed`);
  }
}

/** What the key looks like that it should not be. */
export function keyWarnings(key: string): Warning[] {
  if (ANY_UUID.test(key)) {
    return [];
  }
  const found: Warning[] = [];
  if (MAIL.test(key)) {
    found.push('mail_address');
  }
  const touches = (at: number) => /[A-Za-z0-9]/.test(key.charAt(at));
  const cards = [...key.matchAll(DIGITS)].filter(
    (run) => !touches(run.index - 1) && !touches(run.index + run[0].length) && isCardNumber(run[0].replace(/[ -]/g, '')),
  );
  if (cards.length > 0) {
    found.push('card_number');
  }
  return found;
}

function isCardNumber(number: string): boolean {
  if (!/^[2-6][0-9]{12,18}$/.test(number)) {
    return false;
  }
  let sum = 0;
  for (const [place, digit] of Array.from(number).reverse().entries()) {
    const doubled = Number(digit) * (1 + (place % 2));
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

function checked(key: string): string {
  checkKey(key);
  return key;
}

/**
 * Makers of idempotency keys: the same for every retry of one logical operation, and for nothing else. Any text of 1 to 255 bytes is a
 * key. Each throws InvalidError with the name of what is wrong as its reason.
 */
export const keys = {
  /** The text as it is. */
  of: checked,

  /** A random key (UUID version 4). */
  uuid4: (): string => randomUUID(),

  /** A key that begins with the time (UUID version 7). */
  uuid7(): string {
    const bytes = randomBytes(16);
    bytes.writeUIntBE(Date.now(), 0, 6);
    return uuidText(bytes, 7);
  },

  /** A UUID of version 4 or 7 in its 36-character form, in lower case. */
  uuid(text: string): string {
    if (!UUID_4_OR_7.test(text)) {
      throw refused('not_a_uuid', 'the key is no UUID of version 4 or 7');
    }
    return text.toLowerCase();
  },

  /** What an operation is called in the business: `business('order', '42')` is `order:42`. */
  business(kind: string, ...parts: string[]): string {
    const all = [kind, ...parts];
    if (parts.length === 0 || all.includes('')) {
      throw refused('empty_part', 'a business key has a kind and parts, and none is empty');
    }
    return checked(all.map((part) => part.replaceAll('%', '%25').replaceAll(':', '%3A')).join(':'));
  },

  /** For an event that carries no key, such as a CloudEvent. It is as good as its source's ids are. */
  event(source: string, type: string, id: string): string {
    for (const part of [source, type, id]) {
      if (part === '') {
        throw refused('empty_part', 'an event has a source, a type and an id');
      }
      if (!part.isWellFormed()) {
        throw refused('lone_surrogate', 'a part of the event has half of a surrogate pair');
      }
    }
    return `evt1_${joined(Purpose.EventKey, source, type, id).toString('hex')}`;
  },

  /**
   * A guess, made of what is asked for. Two honest equal requests within one window become one; a retry that crosses the window's
   * edge runs a second time. Ask for a real key wherever you can.
   * @param request a value, bytes, or what `json`, `jsonText`, `raw` or `http` gives; its body alone counts
   * @param windowSeconds whole seconds, at least 1
   * @param at now, unless given
   */
  content(request: unknown, windowSeconds: number, at: Date = new Date()): string {
    const seconds = Math.floor(at.getTime() / 1000);
    if (!Number.isSafeInteger(windowSeconds) || windowSeconds < 1 || !(seconds >= 0)) {
      throw refused('bad_window', 'the window is whole seconds, at least 1, and its time not before 1970');
    }
    const [kind, body] = requestOf(request)?.content() ?? ['none', ''];
    if (kind === 'none') {
      throw refused('empty_part', 'there is no request to make a key of');
    }
    const window = Math.floor(seconds / windowSeconds);
    return `cnt1_${joined(Purpose.ContentKey, String(windowSeconds), String(window), kind, body).toString('hex')}`;
  },
} as const;

/** The key for a call further down: the same in every attempt of one key, and another for everything else. */
export function derivedKey(tenant: string, endpoint: string, key: string, step: string): string {
  if (step === '') {
    throw refused('empty_part', 'the step of a derived key is empty');
  }
  if (!step.isWellFormed()) {
    throw refused('lone_surrogate', 'the step of a derived key has half of a surrogate pair');
  }
  return uuidText(joined(Purpose.DerivedKey, tenant, endpoint, key, step), 8);
}

function uuidText(bytes: Buffer, version: number): string {
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | (version << 4), 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex', 0, 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
