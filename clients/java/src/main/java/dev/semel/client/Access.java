package dev.semel.client;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.regex.Pattern;

/** The token that is shown, read again when its file may have changed. */
final class Access {
  private static final Duration AGE = Duration.ofSeconds(1);
  private static final Pattern TOKEN = Pattern.compile("[\\x21-\\x7e]+");

  private final Path file;
  private String token;
  private long readAt = System.nanoTime();
  private boolean forgotten;

  Access(ClientOptions options) {
    file = options.tokenFile;
    token = file == null ? options.token : read(file);
  }

  /** The token, or null. One that cannot be read now is as it was: its file may be half written. */
  synchronized String bearer() {
    if (file != null && (forgotten || System.nanoTime() - readAt > AGE.toNanos())) {
      readAt = System.nanoTime();
      forgotten = false;
      try {
        token = read(file);
      } catch (SemelException e) {
        return token; // as documented: the last one stays
      }
    }
    return token;
  }

  /** Has the file read again at the next call. */
  synchronized void forget() {
    forgotten = true;
  }

  /** Whether a text can be shown as a token. */
  static boolean isToken(String text) {
    return TOKEN.matcher(text).matches();
  }

  /** Reads a token; no error repeats what is in the file. */
  private static String read(Path file) {
    String token;
    try {
      token = Files.readString(file).strip();
    } catch (IOException e) {
      throw SemelException.refused("TOKEN_FILE", "the token's file cannot be read: " + file);
    }
    if (!isToken(token)) {
      throw SemelException.refused(
          "TOKEN_FILE", "the file does not hold one token, and nothing else: " + file);
    }
    return token;
  }
}
