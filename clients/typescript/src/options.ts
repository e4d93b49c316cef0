import { isIPv4 } from 'node:net';

import { refused } from './errors.js';
import type { OnUnexpected } from './failure.js';
import type { Transport } from './transport.js';

/** Where warnings go; `console` is one. */
export interface Logger {
  warn(message: string, fields: Readonly<Record<string, string>>): void;
}

/**
 * Where the server is, and how it is called. Without any, what the `semel` command takes: SEMEL_SERVER and the other variables, else a
 * server on this machine. Times are milliseconds.
 */
export interface ClientOptions {
  /** `https://…`, `http://…`, or `host:port`, which is `http://`. Default: SEMEL_SERVER, else `http://127.0.0.1:7400`. */
  readonly address?: string | undefined;
  /** Whose keys these are; `''`: the one of the credential. Default: SEMEL_TENANT, else `default`. */
  readonly tenant?: string | undefined;
  /** PEM file of who signs the server's certificate. Default: SEMEL_TLS_CA, else the authorities that Node.js knows. */
  readonly tlsCa?: string | undefined;
  /** PEM file of the client's own certificate. Default: SEMEL_TLS_CERT. */
  readonly tlsCert?: string | undefined;
  /** PEM file of its key. Default: SEMEL_TLS_KEY. */
  readonly tlsKey?: string | undefined;
  /** A bearer token. */
  readonly token?: string | undefined;
  /** A file of one, which is read again when it is older than a second. Default: SEMEL_TOKEN_FILE. */
  readonly tokenFile?: string | undefined;
  /** Lets a token go unencrypted to somewhere else than this machine. */
  readonly insecureToken?: boolean | undefined;
  /** For one call, all its sends together; a wait is on top. Default: 10,000. */
  readonly timeoutMs?: number | undefined;
  /** For one send; a wait is on top. Default: 3,000. */
  readonly tryTimeoutMs?: number | undefined;
  /** For Complete and Abort of `once`, all sends together. Default: 10,000. */
  readonly reportTimeoutMs?: number | undefined;
  /** How many HTTP/2 connections are used in turn. Default: 2. */
  readonly connections?: number | undefined;
  /** What an error of a work means that says nothing of itself. Default: `unknown`. */
  readonly onUnexpected?: OnUnexpected | undefined;
  /** Takes warnings. Default: `console`, under the name `semel`. */
  readonly logger?: Logger | undefined;
  /** Carries calls instead of connections to `address`: for tests, and for connections of your own. */
  readonly transport?: Transport | undefined;
}

/** Options with the defaults filled in. */
export interface Settings {
  readonly address: URL;
  readonly tenant: string;
  readonly tlsCa: string | undefined;
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly token: string | undefined;
  readonly tokenFile: string | undefined;
  readonly timeoutMs: number;
  readonly tryTimeoutMs: number;
  readonly reportTimeoutMs: number;
  readonly connections: number;
  readonly onUnexpected: OnUnexpected;
  readonly logger: Logger;
}

const consoleLogger: Logger = {
  warn(message, fields) {
    console.warn(`semel: ${message}`, fields);
  },
};

/** Puts defaults where nothing is said, and refuses what does not go together. */
export function filled(options: ClientOptions): Settings {
  const environment = (name: string) => process.env[name] ?? undefined;
  const nonEmpty = (text: string | undefined) => (text === '' ? undefined : text);
  const token = nonEmpty(options.token);
  const settings: Settings = {
    address: readAddress(nonEmpty(options.address) ?? nonEmpty(environment('SEMEL_SERVER')) ?? 'http://127.0.0.1:7400'),
    tenant: options.tenant ?? environment('SEMEL_TENANT') ?? 'default',
    tlsCa: nonEmpty(options.tlsCa) ?? nonEmpty(environment('SEMEL_TLS_CA')),
    tlsCert: nonEmpty(options.tlsCert) ?? nonEmpty(environment('SEMEL_TLS_CERT')),
    tlsKey: nonEmpty(options.tlsKey) ?? nonEmpty(environment('SEMEL_TLS_KEY')),
    token,
    tokenFile: token === undefined ? (nonEmpty(options.tokenFile) ?? nonEmpty(environment('SEMEL_TOKEN_FILE'))) : undefined,
    timeoutMs: options.timeoutMs ?? 10_000,
    tryTimeoutMs: options.tryTimeoutMs ?? 3_000,
    reportTimeoutMs: options.reportTimeoutMs ?? 10_000,
    connections: options.connections ?? 2,
    onUnexpected: options.onUnexpected ?? 'unknown',
    logger: options.logger ?? consoleLogger,
  };
  const positive = [settings.timeoutMs, settings.tryTimeoutMs, settings.reportTimeoutMs, settings.connections];
  if (!positive.every((number) => number > 0) || !Number.isInteger(settings.connections)) {
    throw refused('OPTIONS', 'a timeout or the number of connections is not above zero');
  }
  if (token !== undefined && !isToken(token)) {
    throw refused('TOKEN', 'a token is printable ASCII without spaces');
  }
  checkSecrecy(settings, options.insecureToken ?? false);
  return settings;
}

/** Whether a text can be shown as a token. */
export function isToken(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text);
}

function readAddress(text: string): URL {
  const whole = text.includes('://') ? text : `http://${text}`;
  const address = URL.canParse(whole) ? new URL(whole) : undefined;
  const known = address?.protocol === 'http:' || address?.protocol === 'https:';
  const besides = address === undefined || [address.search, address.hash, address.username, address.password].some((part) => part !== '');
  if (!known || besides || address.hostname === '' || !['', '/'].includes(address.pathname)) {
    throw refused('ADDRESS', 'the address is neither https://host:port nor http://host:port');
  }
  return address;
}

function checkSecrecy(settings: Settings, insecureToken: boolean): void {
  if (settings.address.protocol === 'https:') {
    return;
  }
  if (settings.tlsCa !== undefined || settings.tlsCert !== undefined || settings.tlsKey !== undefined) {
    throw refused('ADDRESS', 'certificates are of use for https:// alone');
  }
  const host = settings.address.hostname;
  const loopback = host === 'localhost' || host === '[::1]' || (isIPv4(host) && host.startsWith('127.'));
  if ((settings.token !== undefined || settings.tokenFile !== undefined) && !loopback && !insecureToken) {
    throw refused('ADDRESS', 'a token over http:// can be read on the way; use https://, or insecureToken if that is known to be safe');
  }
}
