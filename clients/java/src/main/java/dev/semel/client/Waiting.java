package dev.semel.client;

import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** Waits for futures. What they failed with is thrown as it is. */
final class Waiting {
  private Waiting() {}

  /** Waits whatever interrupts; the interruption is kept for who comes next. */
  static <T> T forIt(CompletableFuture<T> future) {
    boolean interrupted = false;
    try {
      while (true) {
        try {
          return future.get();
        } catch (InterruptedException e) {
          interrupted = true;
        } catch (ExecutionException e) {
          throw Waiting.<RuntimeException>asItIs(Report.unwrapped(e));
        }
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** Waits, and cancels where the thread is interrupted. */
  static <T> T orCancel(CompletableFuture<T> future, Sender.Cancelling cancelling)
      throws InterruptedException {
    try {
      return future.get();
    } catch (InterruptedException e) {
      cancelling.fire(new CancellationException("the thread was interrupted"));
      throw e;
    } catch (ExecutionException e) {
      throw Waiting.<RuntimeException>asItIs(Report.unwrapped(e));
    }
  }

  /**
   * Throws a checked exception through what does not declare it: it is the work's own, which its
   * caller declares.
   */
  @SuppressWarnings("unchecked")
  static <X extends Throwable> X asItIs(Throwable error) throws X {
    throw (X) error;
  }
}
