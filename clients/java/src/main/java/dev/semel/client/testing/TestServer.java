package dev.semel.client.testing;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A real server with its store in memory, for tests. Nothing of a user's environment reaches it.
 */
public final class TestServer implements AutoCloseable {
  private static final Duration READY_WITHIN = Duration.ofSeconds(30);
  private static final Pattern LISTENS =
      Pattern.compile("^\\s*(gRPC|operations)\\s+(?:http://)?([^\\s/]+)");

  private final Process process;
  private final Path directory;
  private final Thread killer;
  private final String address;

  private TestServer(Process process, Path directory, Thread killer, String address) {
    this.process = process;
    this.directory = directory;
    this.killer = killer;
    this.address = address;
  }

  /** One with the default policy: the program of SEMEL_BIN, else {@code semel} on the PATH. */
  public static TestServer start() throws IOException, InterruptedException {
    return start("");
  }

  /**
   * One with the policy of this text, such as {@code [defaults]\nlease = "5s"}. It is ready when
   * this returns.
   */
  public static TestServer start(String policy) throws IOException, InterruptedException {
    String program =
        Optional.ofNullable(System.getenv("SEMEL_BIN"))
            .filter(name -> !name.isEmpty())
            .orElse("semel");
    Path directory = Files.createTempDirectory("semel-test-");
    Path policyFile = Files.writeString(directory.resolve("policy.toml"), policy);
    ProcessBuilder builder =
        new ProcessBuilder(
            List.of(
                program,
                "serve",
                "--store",
                "memory",
                "--listen",
                "127.0.0.1:0",
                "--ops-listen",
                "127.0.0.1:0",
                "--log-level",
                "error",
                "--policy",
                policyFile.toString()));
    builder.directory(directory.toFile());
    builder.redirectError(directory.resolve("complaints").toFile());
    builder.environment().keySet().removeIf(name -> !name.equals("PATH"));
    Process process;
    try {
      process = builder.start();
    } catch (IOException e) {
      remove(directory);
      throw new IOException(
          "cannot start "
              + program
              + ": set SEMEL_BIN to the semel program, or have it on the PATH",
          e);
    }
    Thread killer = new Thread(process::destroyForcibly);
    Runtime.getRuntime().addShutdownHook(killer);
    try {
      Map<String, String> listens = listens(process, program, directory);
      awaitReady(listens.get("operations"), program);
      return new TestServer(process, directory, killer, "http://" + listens.get("gRPC"));
    } catch (IOException | InterruptedException e) {
      process.destroyForcibly();
      Runtime.getRuntime().removeShutdownHook(killer);
      remove(directory);
      throw e;
    }
  }

  private static Map<String, String> listens(Process process, String program, Path directory)
      throws IOException {
    Map<String, String> found = new HashMap<>();
    BufferedReader lines = process.inputReader(StandardCharsets.UTF_8);
    while (found.size() < 2) {
      String line = lines.readLine();
      if (line == null) {
        throw new IOException(
            program
                + " ended before it said where it listens: "
                + Files.readString(directory.resolve("complaints")));
      }
      Matcher matcher = LISTENS.matcher(line);
      if (matcher.find()) {
        found.put(matcher.group(1), matcher.group(2));
      }
    }
    Thread reader =
        new Thread(
            () -> lines.lines().forEach(line -> {}),
            "semel-test-server"); // whatever else it prints must not fill the pipe
    reader.setDaemon(true);
    reader.start();
    return found;
  }

  private static void awaitReady(String operations, String program)
      throws IOException, InterruptedException {
    HttpClient http = HttpClient.newHttpClient();
    HttpRequest request =
        HttpRequest.newBuilder(URI.create("http://" + operations + "/readyz"))
            .timeout(READY_WITHIN)
            .build();
    long deadline = System.nanoTime() + READY_WITHIN.toNanos();
    while (System.nanoTime() < deadline) {
      if (http.send(request, HttpResponse.BodyHandlers.discarding()).statusCode() == 200) {
        return;
      }
      TimeUnit.MILLISECONDS.sleep(5);
    }
    throw new IOException(program + " is not ready after " + READY_WITHIN);
  }

  /** What {@code ClientOptions.builder().address(…)} takes. */
  public String address() {
    return address;
  }

  /** Stops it, and returns when it is gone. */
  @Override
  public void close() {
    process.destroy();
    process.onExit().join();
    Runtime.getRuntime().removeShutdownHook(killer);
    try {
      remove(directory);
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  private static void remove(Path directory) throws IOException {
    try (Stream<Path> paths = Files.walk(directory)) {
      for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(path);
      }
    }
  }
}
