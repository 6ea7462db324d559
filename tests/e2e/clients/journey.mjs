// A journey through the API with OpenAI's own client for Node, unmodified.
//
// Environment: BASE_URL (with /v1), API_KEY, UPLOAD_BYTES; NODE_EXTRA_CA_CERTS for https.
// Prints one JSON line for each step: {"step", "ok", "error"}; exits with 1 if one failed.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";

import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { WebSocket } from "ws";

const PROMPT = "说 hello";
const ANSWER = `${PROMPT} 1 2 3 4`;
const STEP_TIMEOUT_MS = 60_000;
const UPLOAD_BYTES = Number(process.env.UPLOAD_BYTES);

const settings = { baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 };
const client = new OpenAI(settings);
const messages = [{ role: "user", content: PROMPT }];

async function models() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes("gpt-4o"));
}

async function chat() {
  const answer = await client.chat.completions.create({ model: "gpt-4o", messages });
  assert.equal(answer.choices[0].message.content, ANSWER);
}

async function chatStreamed() {
  const stream = await client.chat.completions.create({
    model: "gpt-4o",
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, ANSWER);
  assert.equal(usage.completion_tokens, 5);
}

async function manyStreamsAtOnce() {
  const one = async (n) => {
    const content = `number ${n}`;
    const stream = await client.chat.completions.create({
      model: "gpt-4o",
      messages: [{ role: "user", content }],
      stream: true,
    });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    assert.equal(text, `${content} 1 2 3 4`);
  };
  await Promise.all(Array.from({ length: 40 }, (_, n) => one(n)));
}

async function leavingAStreamEarly() {
  const stream = await client.chat.completions.create(
    { model: "gpt-4o", messages, stream: true },
    { headers: { "x-test-behaviour": '{"events": 50, "event_delay": 0.05}' } },
  );
  for await (const _ of stream) break;
  await chat();
}

async function responses() {
  const answer = await client.responses.create({ model: "gpt-4o", input: PROMPT });
  assert.equal(answer.output_text, ANSWER);
}

async function responsesStreamed() {
  const stream = await client.responses.create({ model: "gpt-4o", input: PROMPT, stream: true });
  let text = "";
  let last = "";
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event.type;
  }
  assert.equal(text, ANSWER);
  assert.equal(last, "response.completed");
}

async function embeddings() {
  const answer = await client.embeddings.create({ model: "text-embedding-3-small", input: "one" });
  const expected = [...createHash("sha256").update("one").digest().subarray(0, 8)];
  assert.deepEqual(answer.data[0].embedding, expected.map((byte) => byte / 256));
}

async function moderations() {
  const answer = await client.moderations.create({ input: "some violence" });
  assert.equal(answer.results[0].flagged, true);
}

async function images() {
  const answer = await client.images.generate({ model: "dall-e-3", prompt: "a gate" });
  assert.equal(Buffer.from(answer.data[0].b64_json, "base64").length, 3000);
}

async function audioUpload() {
  const sound = randomBytes(1_234_567);
  const answer = await client.audio.transcriptions.create({
    model: "whisper-1",
    file: new File([sound], "talk.mp3", { type: "audio/mpeg" }),
  });
  assert.equal(answer.sha256, createHash("sha256").update(sound).digest("hex"));
}

async function audioDownload() {
  const answer = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: PROMPT });
  const sound = Buffer.from(await answer.arrayBuffer());
  const hash = createHash("sha256").update(sound).digest("hex");
  assert.equal(hash, answer.headers.get("x-test-sha256"));
}

// The parts of a File are kept by reference: the whole is never in memory.
async function fileUpload() {
  const block = randomBytes(1 << 20);
  const whole = Math.floor(UPLOAD_BYTES / block.length);
  const rest = block.subarray(0, UPLOAD_BYTES % block.length);
  const hash = createHash("sha256");
  for (let n = 0; n < whole; n++) hash.update(block);
  hash.update(rest);
  const shared = new Blob([block]);
  const parts = [...Array(whole).fill(shared), rest];
  const created = await client.files.create({
    file: new File(parts, "large.bin"),
    purpose: "assistants",
  });
  assert.equal(created.bytes, UPLOAD_BYTES);
  assert.equal(created.sha256, hash.digest("hex"));
}

async function wrongKey() {
  const stranger = new OpenAI({ ...settings, apiKey: "sk-wrong" });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
}

function talk(connection, whenOpen) {
  return new Promise((resolve, reject) => {
    let text = "";
    const kinds = [];
    connection.on("error", reject);
    connection.on("event", (event) => {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
      if (event.type !== "response.done") return;
      connection.close();
      resolve({ text, kinds });
    });
    whenOpen(() => connection.send({ type: "response.create", response: { instructions: PROMPT } }));
  });
}

async function realtime() {
  const connection = new OpenAIRealtimeWS({ model: "gpt-realtime" }, client);
  const said = await talk(connection, (begin) => connection.socket.on("open", begin));
  assert.equal(said.text, ANSWER);
  assert.equal(said.kinds[0], "session.created");
}

// As in a browser, which cannot set headers: the key travels as a subprotocol.
async function realtimeAsABrowser() {
  globalThis.WebSocket ??= WebSocket;
  const connection = new OpenAIRealtimeWebSocket(
    { model: "gpt-realtime", dangerouslyAllowBrowser: true },
    client,
  );
  const begun = (begin) => connection.socket.addEventListener("open", begin);
  const said = await talk(connection, begun);
  assert.equal(said.text, ANSWER);
}

function limited(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("timed out")), STEP_TIMEOUT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const steps = {
  models,
  chat,
  chatStreamed,
  manyStreamsAtOnce,
  leavingAStreamEarly,
  responses,
  responsesStreamed,
  embeddings,
  moderations,
  images,
  audioUpload,
  audioDownload,
  fileUpload,
  wrongKey,
  // For Realtime this client speaks nothing but wss, whatever the base URL says.
  ...(process.env.BASE_URL.startsWith("https:") ? { realtime, realtimeAsABrowser } : {}),
};

let failed = false;
for (const [step, run] of Object.entries(steps)) {
  try {
    await limited(run());
    console.log(JSON.stringify({ step, ok: true, error: "" }));
  } catch (error) {
    failed = true;
    const cause = error.cause ? ` (${error.cause})` : "";
    console.log(JSON.stringify({ step, ok: false, error: `${error.stack}${cause}` }));
  }
}
process.exit(failed ? 1 : 0);
