package dev.semel.client;

/** What an error of a work says of its side effect. */
public enum Meaning {
  /** It may have happened: the policy of the server decides whether the next call runs. */
  UNKNOWN,
  /** Nothing happened: the next call runs. */
  RELEASE,
  /** It failed for good: the failure is stored and replayed. */
  FINAL
}
