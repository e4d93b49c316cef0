import { create, fromBinary, isMessage, toBinary, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { timestampDate } from '@bufbuild/protobuf/wkt';

import { jsonText } from './canonical.js';
import { OperationFailedError, ResultNotStoredError, UndecodableResultError } from './errors.js';
import { plainType, readFailure, type ResultReport } from './failure.js';
import { Result_Outcome as ResultOutcome, ResultSchema, type Replayed, type Result } from './gen/semel/v1/semel_pb.js';

/** How values become results, and are read again. */
export interface Codec<T> {
  /** Names what `encode` writes. */
  readonly contentType: string;
  /** Writes what a work returned; throws where it cannot. */
  encode(value: T): Uint8Array;
  /** Reads what is replayed; throws where it cannot. */
  decode(payload: Uint8Array): T;
}

/** JSON in UTF-8, which is what is used if nothing is said. What JSON would drop in silence is refused; undefined is null. */
export function jsonCodec<T>(): Codec<T> {
  return {
    contentType: 'application/json',
    encode: (value) => Buffer.from(jsonText(value === undefined ? null : value)),
    decode: (payload) => JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload)) as T,
  };
}

/** Bytes as they are. */
export const bytesCodec: Codec<Uint8Array> = {
  contentType: 'application/octet-stream',
  encode(value) {
    if (!(value instanceof Uint8Array)) {
      throw new TypeError(`the work returned ${typeof value}, and bytesCodec takes Uint8Array`);
    }
    return value;
  },
  decode: (payload) => payload,
};

/** Messages of one protobuf type, which protoc-gen-es generated. */
export function protobufCodec<Desc extends DescMessage>(schema: Desc): Codec<MessageShape<Desc>> {
  return {
    contentType: `application/x-protobuf; messageType="${schema.typeName}"`,
    encode(value) {
      if (!isMessage(value, schema)) {
        throw new TypeError(`the work returned no message of the type ${schema.typeName}`);
      }
      return toBinary(schema, value);
    },
    decode: (payload) => fromBinary(schema, payload),
  };
}

/** The report of a value. */
export function encoded<T>(codec: Codec<T>, value: T): ResultReport {
  const result = create(ResultSchema, { outcome: ResultOutcome.SUCCESS, contentType: codec.contentType });
  try {
    result.payload = codec.encode(value);
    return { result };
  } catch (error) {
    result.payloadOmitted = true;
    return { result, omitted: error };
  }
}

/** Reads what is replayed: a value, or the failure that it was. */
export function decoded<T>(codec: Codec<T>, result: Result): T {
  const failure = result.outcome === ResultOutcome.FAILURE;
  if (result.payloadOmitted) {
    throw new ResultNotStoredError('it was done before, and what it returned was too large to keep, or not to be encoded', {
      reason: 'PAYLOAD_OMITTED',
      replayed: true,
      failed: failure,
    });
  }
  if (failure) {
    throw new OperationFailedError(readFailure(result), { replayed: true, result });
  }
  if (plainType(result.contentType) !== plainType(codec.contentType)) {
    throw new UndecodableResultError(
      `what is replayed is ${JSON.stringify(result.contentType)}, and this call reads ${JSON.stringify(codec.contentType)}`,
      {
        reason: 'CONTENT_TYPE',
        result,
      },
    );
  }
  try {
    return codec.decode(result.payload);
  } catch {
    // Without the cause: the texts of decoders repeat what they could not read.
    throw new UndecodableResultError('what is replayed cannot be read by the codec of this call', { reason: 'PAYLOAD', result });
  }
}

/** When what is replayed was stored. */
export function completedAt(replayed: Replayed): Date | undefined {
  return replayed.completedAt === undefined ? undefined : timestampDate(replayed.completedAt);
}
