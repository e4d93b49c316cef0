/**
 * For the tests of those who use semel: a client without a server, and a real server.
 *
 * @packageDocumentation
 */
export { FakeClient, type FakeDecision, type RecordedCall } from './fake.js';
export { TestServer, type TestServerOptions } from './server.js';
