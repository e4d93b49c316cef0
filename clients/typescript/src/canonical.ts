import canonicalize from 'canonicalize';

import { refused } from './errors.js';

const MOST_DEPTH = 100;

/** A value as the language writes it; a number that is NaN or infinite is refused instead of written as null. */
export function jsonText(value: unknown): string {
  const text = JSON.stringify(value, (_name, member: unknown) => {
    if (typeof member === 'number' && !Number.isFinite(member)) {
      throw refused('not_finite', 'a number is NaN or infinite, which JSON cannot say');
    }
    return member;
  }) as string | undefined;
  if (text === undefined) {
    throw new TypeError(`JSON has no word for what this is: ${typeof value}`);
  }
  return text;
}

/** Reads JSON strictly, removes the members at the pointers, and writes the rest by RFC 8785. */
export function canonicalJson(json: string | Uint8Array, ignore: readonly string[]): string {
  const text = typeof json === 'string' ? json : decoded(json);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw notJson();
  }
  checkTokens(text);
  removeMembers(document, ignore);
  return canonicalText(document);
}

/** Writes a value of JSON by RFC 8785. */
export function canonicalText(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) {
    throw notJson();
  }
  return text;
}

function notJson() {
  return refused('not_json', 'the request is not one JSON value in UTF-8');
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw notJson();
  }
}

const TOKEN = /"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[{}[\]:,]|true|false|null/g;

/** Looks at the tokens of a text that is known to be JSON, and refuses what not everybody reads alike. */
function checkTokens(text: string): void {
  const open: (Set<string> | null)[] = []; // the names of each object; null is an array
  let name = false; // whether a text that comes now is a member's name
  for (const [token] of text.matchAll(TOKEN)) {
    switch (token) {
      case '{':
      case '[':
        if (open.length === MOST_DEPTH) {
          throw refused('too_deep', 'the request has more than 100 arrays and objects within each other');
        }
        open.push(token === '{' ? new Set() : null);
        name = token === '{';
        break;
      case '}':
      case ']':
        open.pop();
        name = false;
        break;
      case ',':
        name = open.at(-1) !== null;
        break;
      default:
        if (token.startsWith('"')) {
          checkText(token, name ? open.at(-1) : undefined);
          name = false;
        } else if (/^[-0-9]/.test(token)) {
          checkNumber(token);
        }
    }
  }
}

function checkText(token: string, names: Set<string> | null | undefined): void {
  const text = JSON.parse(token) as string;
  if (!text.isWellFormed()) {
    throw refused('lone_surrogate', 'a text of the request has half of a surrogate pair');
  }
  if (names?.has(text)) {
    throw refused('duplicate_name', 'an object of the request has two members of one name');
  }
  names?.add(text);
}

function checkNumber(token: string): void {
  const value = Number(token);
  if (/[.eE]/.test(token)) {
    if (!Number.isFinite(value)) {
      throw refused('not_finite', 'a number of the request is beyond a double');
    }
  } else if (!Number.isSafeInteger(value)) {
    throw refused('integer_too_large', 'an integer of the request is beyond 2^53 - 1: send it as a text');
  }
}

type Members = Record<string, unknown>;

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Removes the members that JSON pointers (RFC 6901) name. All are looked up before any goes. */
function removeMembers(document: unknown, pointers: readonly string[]): void {
  const doomed: [Members, string][] = [];
  for (const pointer of pointers) {
    const tokens = readPointer(pointer);
    const last = tokens.pop() ?? '';
    const place = tokens.reduce(stepInto, document);
    if (Array.isArray(place)) {
      throw refused('bad_pointer', 'an ignored field is an element of an array');
    }
    if (isMembers(place)) {
      doomed.push([place, last]);
    }
  }
  for (const [members, name] of doomed) {
    // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- the document was just parsed, and is ours
    delete members[name];
  }
}

function readPointer(pointer: string): string[] {
  if (!pointer.startsWith('/') || /~(?![01])/.test(pointer)) {
    throw refused('bad_pointer', 'an ignored field is no JSON pointer: it begins with /, and ~ is written ~0');
  }
  return pointer
    .slice(1)
    .split('/')
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function stepInto(place: unknown, token: string): unknown {
  if (Array.isArray(place)) {
    return /^(?:0|[1-9][0-9]*)$/.test(token) ? (place[Number(token)] as unknown) : undefined;
  }
  return isMembers(place) && Object.hasOwn(place, token) ? place[token] : undefined;
}
