package dev.semel.client;

/** What runs once, on the thread of who called {@code once}. */
@FunctionalInterface
public interface Work<T, X extends Exception> {
  T run(Attempt attempt) throws X;
}
