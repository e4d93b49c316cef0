package dev.semel.client;

import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/**
 * Where the server is, and how it is called. Without any, what the {@code semel} command takes:
 * SEMEL_SERVER and the other variables, else a server on this machine.
 */
public final class ClientOptions {
  final URI address;
  final String tenant;
  final Path tlsCa;
  final Path tlsCert;
  final Path tlsKey;
  final String token;
  final Path tokenFile;
  final Duration timeout;
  final Duration tryTimeout;
  final Duration reportTimeout;
  final int connections;
  final Meaning onUnexpected;
  final Transport transport;

  private ClientOptions(Builder builder) {
    address = readAddress(builder.address);
    tenant = builder.tenant;
    tlsCa = path(builder.tlsCa);
    tlsCert = path(builder.tlsCert);
    tlsKey = path(builder.tlsKey);
    token = builder.token == null || builder.token.isEmpty() ? null : builder.token;
    tokenFile = token == null ? path(builder.tokenFile) : null;
    timeout = builder.timeout;
    tryTimeout = builder.tryTimeout;
    reportTimeout = builder.reportTimeout;
    connections = builder.connections;
    onUnexpected = builder.onUnexpected;
    transport = builder.transport;
    if (!positive(timeout)
        || !positive(tryTimeout)
        || !positive(reportTimeout)
        || connections < 1) {
      throw SemelException.refused(
          "OPTIONS", "a timeout or the number of connections is not above zero");
    }
    if (token != null && !Access.isToken(token)) {
      throw SemelException.refused("TOKEN", "a token is printable ASCII without spaces");
    }
    checkSecrecy(builder.insecureToken);
  }

  private static Path path(String text) {
    return text == null ? null : Path.of(text);
  }

  private static boolean positive(Duration length) {
    return !length.isNegative() && !length.isZero();
  }

  private static URI readAddress(String text) {
    SemelException wrong =
        SemelException.refused(
            "ADDRESS", "the address is neither https://host:port nor http://host:port");
    try {
      URI address = URI.create(text.contains("://") ? text : "http://" + text);
      boolean known = "http".equals(address.getScheme()) || "https".equals(address.getScheme());
      boolean bare =
          address.getPath() == null || address.getPath().isEmpty() || address.getPath().equals("/");
      boolean besides =
          address.getQuery() != null
              || address.getFragment() != null
              || address.getUserInfo() != null;
      if (known && address.getHost() != null && bare && !besides) {
        return address;
      }
    } catch (IllegalArgumentException e) {
      throw wrong;
    }
    throw wrong;
  }

  private void checkSecrecy(boolean insecureToken) {
    if (address.getScheme().equals("https")) {
      return;
    }
    if (tlsCa != null || tlsCert != null || tlsKey != null) {
      throw SemelException.refused("ADDRESS", "certificates are of use for https:// alone");
    }
    String host = address.getHost();
    boolean loopback =
        host.equals("localhost") || host.equals("[::1]") || host.matches("127(\\.[0-9]{1,3}){3}");
    if ((token != null || tokenFile != null) && !loopback && !insecureToken) {
      throw SemelException.refused(
          "ADDRESS",
          "a token over http:// can be read on the way; use https://, or insecureToken if that is known to be safe");
    }
  }

  /** What the environment says, else the defaults. */
  public static Builder builder() {
    return new Builder(System.getenv());
  }

  /** Fills in what is not the default. */
  public static final class Builder {
    private String address;
    private String tenant;
    private String tlsCa;
    private String tlsCert;
    private String tlsKey;
    private String token;
    private String tokenFile;
    private boolean insecureToken;
    private Duration timeout = Duration.ofSeconds(10);
    private Duration tryTimeout = Duration.ofSeconds(3);
    private Duration reportTimeout = Duration.ofSeconds(10);
    private int connections = 2;
    private Meaning onUnexpected = Meaning.UNKNOWN;
    private Transport transport;

    private Builder(Map<String, String> environment) {
      address = said(environment, "SEMEL_SERVER").orElse("http://127.0.0.1:7400");
      tenant = environment.getOrDefault("SEMEL_TENANT", "default");
      tlsCa = said(environment, "SEMEL_TLS_CA").orElse(null);
      tlsCert = said(environment, "SEMEL_TLS_CERT").orElse(null);
      tlsKey = said(environment, "SEMEL_TLS_KEY").orElse(null);
      tokenFile = said(environment, "SEMEL_TOKEN_FILE").orElse(null);
    }

    private static Optional<String> said(Map<String, String> environment, String name) {
      return Optional.ofNullable(environment.get(name)).filter(text -> !text.isEmpty());
    }

    /** {@code https://…}, {@code http://…}, or {@code host:port}, which is {@code http://}. */
    public Builder address(String address) {
      this.address = address;
      return this;
    }

    /** Whose keys these are; {@code ""}: the one of the credential. */
    public Builder tenant(String tenant) {
      this.tenant = tenant;
      return this;
    }

    /** PEM file of who signs the server's certificate; else the authorities that Java knows. */
    public Builder tlsCa(String file) {
      tlsCa = file;
      return this;
    }

    /** PEM files of the client's own certificate and its key. */
    public Builder tlsCert(String certificate, String key) {
      tlsCert = certificate;
      tlsKey = key;
      return this;
    }

    /** A bearer token. */
    public Builder token(String token) {
      this.token = token;
      return this;
    }

    /** A file of a bearer token, which is read again when it is older than a second. */
    public Builder tokenFile(String file) {
      tokenFile = file;
      return this;
    }

    /** Lets a token go unencrypted to somewhere else than this machine. */
    public Builder insecureToken(boolean insecureToken) {
      this.insecureToken = insecureToken;
      return this;
    }

    /** For one call, all its sends together; a wait is on top. 10 s. */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /** For one send; a wait is on top. 3 s. */
    public Builder tryTimeout(Duration tryTimeout) {
      this.tryTimeout = tryTimeout;
      return this;
    }

    /** For Complete and Abort of {@code once}, all sends together. 10 s. */
    public Builder reportTimeout(Duration reportTimeout) {
      this.reportTimeout = reportTimeout;
      return this;
    }

    /** How many HTTP/2 connections are used in turn. 2. */
    public Builder connections(int connections) {
      this.connections = connections;
      return this;
    }

    /** What an error of a work means that says nothing of itself. Unknown. */
    public Builder onUnexpected(Meaning onUnexpected) {
      this.onUnexpected = onUnexpected;
      return this;
    }

    /**
     * Carries calls instead of connections to the address: for tests, and for connections of your
     * own.
     */
    public Builder transport(Transport transport) {
      this.transport = transport;
      return this;
    }

    /**
     * @throws SemelException.Invalid options that do not go together
     */
    public ClientOptions build() {
      return new ClientOptions(this);
    }
  }
}
