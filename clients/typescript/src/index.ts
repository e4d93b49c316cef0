/**
 * Has a side effect happen once: across retries, crashes, replicas and languages. Begin with {@link Client.once}.
 *
 * @packageDocumentation
 */
export { Attempt, type Checkpoint } from './attempt.js';
export { Client, type CallOptions } from './client.js';
export { bytesCodec, jsonCodec, protobufCodec, type Codec } from './codec.js';
export * from './errors.js';
export { FAILURE_CONTENT_TYPE, Final, Retryable, Unknown, type Failure, type Meaning, type OnUnexpected } from './failure.js';
export { Handoff, type HandoffParts } from './handoff.js';
export { checkKey, keyWarnings, keys, type Warning } from './keys.js';
export type { Outcome, Work } from './once.js';
export type { OnceOptions } from './once_options.js';
export type { ClientOptions, Logger } from './options.js';
export { Request, http, json, jsonText, raw } from './request.js';
export { StatusError, itemError } from './status.js';
export type { Transport, UnaryCall } from './transport.js';
export { VERSION } from './version.js';
