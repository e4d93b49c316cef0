package dev.semel.client;

import java.util.concurrent.CompletionStage;

/** What runs once, and completes later. */
@FunctionalInterface
public interface AsyncWork<T> {
  CompletionStage<T> run(Attempt attempt) throws Exception;
}
