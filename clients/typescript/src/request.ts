import { createHash } from 'node:crypto';

import { canonicalJson, jsonText as written } from './canonical.js';
import { refused } from './errors.js';

/** What joined bytes are for: clients/vectors/README.md. */
export const Purpose = { Fingerprint: 0x01, DerivedKey: 0x02, EventKey: 0x03, ContentKey: 0x04 } as const;

const JOINED_VERSION = 0x01;

/** The SHA-256 of parts in the one layout that all libraries share. */
export function joined(purpose: number, ...parts: (string | Uint8Array)[]): Buffer {
  const hash = createHash('sha256').update(Uint8Array.of(JOINED_VERSION, purpose));
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part;
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(bytes.length));
    hash.update(length).update(bytes);
  }
  return hash.digest();
}

/** The kind of a body, and its canonical bytes. */
export type Content = readonly [kind: 'none' | 'json' | 'raw', body: string | Uint8Array];

/** What a key stands for: a later call with the same key and another request is refused with KeyMismatchError. */
export class Request {
  readonly #content: () => Content;
  readonly #parts: { method: string; path: string; headers: readonly (readonly [string, string])[] };

  /** @internal Use `json`, `jsonText`, `raw` and `http`. */
  constructor(content: () => Content, method = '', path = '', headers: readonly (readonly [string, string])[] = []) {
    this.#content = content;
    this.#parts = { method, path, headers };
  }

  /** @internal */
  content(): Content {
    return this.#content();
  }

  /**
   * The SHA-256 digest of the request, the same in every language.
   * @throws InvalidError what cannot be hashed alike everywhere, such as `integer_too_large`
   */
  fingerprint(): Uint8Array {
    const { method, path } = this.#parts;
    const [kind, body] = this.content();
    for (const text of [method, path, ...this.#parts.headers.flat()]) {
      if (!text.isWellFormed()) {
        throw refused('lone_surrogate', 'a part of the request has half of a surrogate pair');
      }
    }
    const headers = this.#parts.headers.map(([name, value]) => {
      if (name === '') {
        throw refused('empty_part', 'a header of the request has no name');
      }
      const lower = name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
      return [lower, value.replace(/^[ \t]+|[ \t]+$/g, '')] as const;
    });
    headers.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return joined(Purpose.Fingerprint, method, path, kind, body, ...headers.flat());
  }
}

/** A request that is a value; members at the ignored JSON pointers are left out. */
export function json(value: unknown, options: { ignore?: readonly string[] } = {}): Request {
  return new Request(() => {
    let text: string;
    try {
      text = written(value);
    } catch (error) {
      if (error instanceof Error && 'reason' in error) {
        throw error;
      }
      throw refused('not_json', `the request cannot be written as JSON: it is or contains what JSON has no word for`);
    }
    return ['json', canonicalJson(text, options.ignore ?? [])];
  });
}

/** A request that is JSON already: text, or bytes in UTF-8. */
export function jsonText(text: string | Uint8Array, options: { ignore?: readonly string[] } = {}): Request {
  return new Request(() => ['json', canonicalJson(text, options.ignore ?? [])]);
}

/** A request of bytes, compared byte for byte. */
export function raw(bytes: Uint8Array): Request {
  return new Request(() => ['raw', bytes]);
}

/** An HTTP request: its method, its path and those of its headers that matter. */
export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>> | readonly (readonly [name: string, value: string])[];
  /** A value, which is JSON; bytes; what `json`, `jsonText` or `raw` give; undefined and null are none. */
  readonly body?: unknown;
  /** JSON pointers to members that are left out, where the body is a value. */
  readonly ignore?: readonly string[];
}

/** A request with its method, its path and those of its headers that matter. */
export function http(request: HttpRequest): Request {
  const { ignore = [] } = request;
  const isValue = !(
    request.body === undefined ||
    request.body === null ||
    request.body instanceof Uint8Array ||
    request.body instanceof Request
  );
  if (ignore.length > 0 && !isValue) {
    throw refused('bad_pointer', 'ignored fields are for JSON alone');
  }
  const body = isValue ? json(request.body, { ignore }) : requestOf(request.body);
  const headers = Array.isArray(request.headers)
    ? (request.headers as readonly (readonly [string, string])[])
    : Object.entries((request.headers ?? {}) as Readonly<Record<string, string>>);
  return new Request(() => body?.content() ?? ['none', ''], request.method, request.path, headers);
}

/** What `once` takes for a request: a Request, bytes, or any value; undefined and null are none. */
export function requestOf(request: unknown): Request | undefined {
  if (request === undefined || request === null || request instanceof Request) {
    return request ?? undefined;
  }
  return request instanceof Uint8Array ? raw(request) : json(request);
}
