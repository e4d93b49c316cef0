import { readFileSync } from 'node:fs';

import { Client as GrpcClient, Metadata, credentials, type ChannelCredentials, type ChannelOptions } from '@grpc/grpc-js';

import { refused } from './errors.js';
import type { Settings } from './options.js';
import { StatusError } from './status.js';
import { VERSION } from './version.js';

const KEEP_ALIVE_AFTER_MS = 20_000;
const KEEP_ALIVE_WAIT_MS = 5_000;
const SHORTEST_RECONNECT_MS = 50;
const LONGEST_RECONNECT_MS = 1_000;
const MOST_ANSWER = 64 * 1024 * 1024;

/** A call that is sent once. */
export interface UnaryCall {
  /** Such as `/semel.v1.IdempotencyService/Begin`. */
  readonly path: string;
  /** The request, as protobuf. */
  readonly body: Uint8Array;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** How long it may take. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** What carries calls. */
export interface Transport {
  /** Gives the answer as protobuf, or rejects with a StatusError; with anything where the signal fired. */
  unary(call: UnaryCall): Promise<Uint8Array>;
  close(): void;
}

/** gRPC over connections that are used in turn. It connects when it is used. */
export class GrpcTransport implements Transport {
  readonly #clients: readonly GrpcClient[];
  #turn = 0;

  constructor(settings: Settings) {
    const { protocol, hostname, port } = settings.address;
    const secured = protocol === 'https:' ? tlsCredentials(settings) : credentials.createInsecure();
    const target = `dns:///${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`;
    const options: ChannelOptions = {
      'grpc.primary_user_agent': `semel-typescript/${VERSION}`,
      'grpc.enable_retries': 0, // this library sends again by itself
      'grpc.service_config_disable_resolution': 1,
      'grpc.use_local_subchannel_pool': 1, // a connection of its own for each
      'grpc.keepalive_time_ms': KEEP_ALIVE_AFTER_MS,
      'grpc.keepalive_timeout_ms': KEEP_ALIVE_WAIT_MS,
      'grpc.keepalive_permit_without_calls': 0,
      'grpc.initial_reconnect_backoff_ms': SHORTEST_RECONNECT_MS,
      'grpc.max_reconnect_backoff_ms': LONGEST_RECONNECT_MS,
      'grpc.max_receive_message_length': MOST_ANSWER,
    };
    this.#clients = Array.from({ length: settings.connections }, () => new GrpcClient(target, secured, options));
  }

  unary(call: UnaryCall): Promise<Uint8Array> {
    this.#turn = (this.#turn + 1) % this.#clients.length;
    const client = this.#clients[this.#turn];
    if (client === undefined) {
      throw new Error('a transport has one connection at least');
    }
    const metadata = new Metadata();
    for (const [name, value] of call.headers) {
      metadata.set(name, value);
    }
    return new Promise((resolve, reject) => {
      const sent = client.makeUnaryRequest(
        call.path,
        (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
        (bytes: Buffer): Uint8Array => bytes,
        call.body,
        metadata,
        { deadline: Date.now() + call.timeoutMs },
        (error, answer) => {
          call.signal?.removeEventListener('abort', cancel);
          if (error === null && answer !== undefined) {
            resolve(answer);
            return;
          }
          const [details] = error?.metadata.get('grpc-status-details-bin') ?? [];
          reject(new StatusError(error?.code ?? 2, error?.details ?? '', details instanceof Uint8Array ? details : undefined));
        },
      );
      const cancel = () => {
        sent.cancel();
      };
      call.signal?.addEventListener('abort', cancel);
    });
  }

  close(): void {
    for (const client of this.#clients) {
      client.close();
    }
  }
}

function tlsCredentials(settings: Settings): ChannelCredentials {
  const { tlsCa, tlsCert, tlsKey } = settings;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw refused('TLS', "a client's certificate needs both its file and its key's");
  }
  const read = (file: string | undefined, what: string) => {
    try {
      return file === undefined ? null : readFileSync(file);
    } catch {
      throw refused('TLS', `${what} file cannot be read: ${String(file)}`);
    }
  };
  const [authorities, certificate, key] = [read(tlsCa, "the authorities'"), read(tlsCert, "the certificate's"), read(tlsKey, "the key's")];
  if (authorities !== null && !authorities.includes('-----BEGIN CERTIFICATE-----')) {
    throw refused('TLS', `the file holds no certificate in PEM form: ${String(tlsCa)}`);
  }
  try {
    return credentials.createSsl(authorities, key, certificate);
  } catch {
    throw refused('TLS', `the client's certificate or its key cannot be used: ${String(tlsCert)}, ${String(tlsKey)}`);
  }
}
