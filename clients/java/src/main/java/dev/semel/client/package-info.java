/**
 * Has a side effect happen once: across retries, crashes, replicas and languages. Begin with {@link
 * dev.semel.client.Client#once}.
 */
package dev.semel.client;
