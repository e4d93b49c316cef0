package dev.semel.client;

import java.time.Instant;

/**
 * What {@code once} came to.
 *
 * @param value what the work returned, now or when it ran
 * @param replayed it ran before, and nothing ran now
 * @param handedOff another process is to report
 * @param isProtected false where the work ran only because of {@link OnceOptions#withFailOpen}
 * @param completedAt when what is replayed was stored, else null
 */
public record Outcome<T>(
    T value,
    boolean replayed,
    boolean handedOff,
    boolean isProtected,
    long fence,
    int attempt,
    Instant completedAt) {}
