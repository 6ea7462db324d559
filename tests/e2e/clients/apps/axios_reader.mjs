// axios as browser pages use it, on jsdom's XMLHttpRequest: what has come so far is split at blank
// lines on each progress, and every piece is taken for "data:" and JSON.

import { JSDOM } from "jsdom";
import { MESSAGES, PROMPT, TOOL, called, listed, serve } from "./loop.mjs";

const { window } = new JSDOM("", { url: "https://page.test/" });
globalThis.XMLHttpRequest = window.XMLHttpRequest; // looked for by axios when it is loaded
const { default: axios } = await import("axios");

const post = (baseURL, key, path, data, more = {}) =>
  axios.post(`${baseURL}${path}`, data, {
    headers: { Authorization: `Bearer ${key}` },
    ...more,
  });

function words(piece) {
  const data = piece.split("data:", 2)[1].trim();
  return data === "[DONE]" ? "" : JSON.parse(data).choices[0].delta.content;
}

const read = (text) => text.trim().split("\n\n").map(words).join("");

async function* chat(baseURL, key) {
  const answer = await post(baseURL, key, "/chat/completions", { model: "gpt-4o", messages: MESSAGES });
  yield answer.data.choices[0].message.content;
}

async function* stream(baseURL, key) {
  let shown = "";
  const uncaught = []; // what such a page writes on its console
  const onDownloadProgress = (progress) => {
    try {
      shown = read((progress.event ?? progress).target.responseText);
    } catch (error) {
      uncaught.push(error);
    }
  };
  const body = { model: "gpt-4o", messages: MESSAGES, stream: true };
  try {
    const answer = await post(baseURL, key, "/chat/completions", body, { onDownloadProgress });
    shown = read(answer.data);
  } finally {
    yield shown;
  }
  if (uncaught.length) throw uncaught[0];
}

async function* tools(baseURL, key) {
  const body = { model: "gpt-4o", messages: MESSAGES, tools: [TOOL] };
  const answer = await post(baseURL, key, "/chat/completions", body);
  const call = answer.data.choices[0].message.tool_calls[0].function;
  yield called(call.name, JSON.parse(call.arguments));
}

async function* embeddings(baseURL, key) {
  const body = { model: "text-embedding-3-small", input: PROMPT };
  yield listed((await post(baseURL, key, "/embeddings", body)).data.data[0].embedding);
}

async function* image(baseURL, key) {
  const body = { model: "dall-e-3", prompt: PROMPT, response_format: "b64_json" };
  const answer = await post(baseURL, key, "/images/generations", body);
  yield String(Buffer.from(answer.data.data[0].b64_json, "base64").length);
}

await serve({ chat, stream, tools, embeddings, image });
