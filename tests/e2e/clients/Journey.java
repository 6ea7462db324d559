// A journey with the JDK's own HttpClient in its default settings: it prefers HTTP/2, and so sends
// "Connection: Upgrade, HTTP2-Settings" with its first request over plain http.
//
// Arguments: base URL (with /v1), key, a PEM file with the authority for https or "-".
// Prints one line for each step: "ok STEP" or "failed STEP: why"; exits with 1 if one failed.

import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Journey {
    interface Step {
        void run() throws Exception;
    }

    static final String CHAT =
        "{\"model\": \"gpt-4o\", \"stream\": %s,"
            + " \"messages\": [{\"role\": \"user\", \"content\": \"说 hello\"}]}";

    final String base;
    final String key;
    final HttpClient client;
    boolean failed;

    Journey(String base, String key, HttpClient client) {
        this.base = base;
        this.key = key;
        this.client = client;
    }

    public static void main(String[] arguments) throws Exception {
        HttpClient.Builder builder = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10));
        if (!arguments[2].equals("-")) {
            builder.sslContext(trusting(arguments[2]));
        }
        Journey journey = new Journey(arguments[0], arguments[1], builder.build());
        journey.travel();
        System.exit(journey.failed ? 1 : 0);
    }

    static SSLContext trusting(String pem) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (FileInputStream file = new FileInputStream(pem)) {
            CertificateFactory factory = CertificateFactory.getInstance("X.509");
            store.setCertificateEntry("authority", factory.generateCertificate(file));
        }
        TrustManagerFactory trust =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    void travel() {
        step("models", this::models);
        step("chat", this::chat);
        step("chatStreamed", this::chatStreamed);
        step("largeBody", this::largeBody);
        step("twentyAtOnce", this::twentyAtOnce);
    }

    void step(String name, Step step) {
        try {
            step.run();
            System.out.println("ok " + name);
        } catch (Throwable error) {
            failed = true;
            System.out.println("failed " + name + ": " + error);
        }
    }

    HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(base + path))
            .timeout(Duration.ofSeconds(30))
            .header("Authorization", "Bearer " + key)
            .header("Content-Type", "application/json");
    }

    HttpRequest post(String body) {
        return request("/chat/completions").POST(HttpRequest.BodyPublishers.ofString(body)).build();
    }

    void models() throws Exception {
        HttpResponse<String> answer =
            client.send(request("/models").GET().build(), BodyHandlers.ofString());
        expect(answer.statusCode() == 200, "status " + answer.statusCode());
        expect(answer.body().contains("\"gpt-4o\""), answer.body());
    }

    void chat() throws Exception {
        HttpResponse<String> answer =
            client.send(post(CHAT.formatted("false")), BodyHandlers.ofString());
        expect(answer.statusCode() == 200, "status " + answer.statusCode());
        expect(answer.body().contains("hello 1 2 3 4"), answer.body());
    }

    void chatStreamed() throws Exception {
        // A client of its own, so that the POST is the first request and carries the upgrade.
        HttpClient fresh = HttpClient.newBuilder().sslContext(client.sslContext()).build();
        HttpResponse<java.util.stream.Stream<String>> answer =
            fresh.send(post(CHAT.formatted("true")), BodyHandlers.ofLines());
        expect(answer.statusCode() == 200, "status " + answer.statusCode());
        List<String> lines =
            answer.body().filter(line -> !line.isEmpty()).collect(Collectors.toList());
        expect(lines.get(lines.size() - 1).equals("data: [DONE]"), "no clean end: " + lines);
        long words = lines.stream().filter(line -> line.contains("\"content\": \" ")).count();
        expect(words == 4, words + " words");
    }

    void largeBody() throws Exception {
        String padded = CHAT.formatted("false").replace("说", "x".repeat(3_000_000));
        HttpResponse<String> answer = client.send(post(padded), BodyHandlers.ofString());
        expect(answer.statusCode() == 200, "status " + answer.statusCode());
        expect(answer.body().length() > 3_000_000, "short: " + answer.body().length());
    }

    void twentyAtOnce() throws Exception {
        var asked =
            IntStream.range(0, 20)
                .mapToObj(n -> client.sendAsync(post(CHAT.formatted("true")), BodyHandlers.ofString()))
                .collect(Collectors.toList());
        for (var answer : asked) {
            String body = answer.join().body();
            expect(body.endsWith("data: [DONE]\n\n"), "no clean end: " + body);
        }
    }

    static void expect(boolean fulfilled, String otherwise) {
        if (!fulfilled) {
            throw new AssertionError(otherwise);
        }
    }
}
