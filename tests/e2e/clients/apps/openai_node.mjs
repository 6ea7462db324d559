// OpenAI's client for Node since 4.

import OpenAI from "openai";
import { MESSAGES, PROMPT, TOOL, called, listed, serve } from "./loop.mjs";

const client = (baseURL, apiKey) => new OpenAI({ baseURL, apiKey, maxRetries: 0 });

async function* chat(baseURL, key) {
  const answer = await client(baseURL, key).chat.completions.create({
    model: "gpt-4o",
    messages: MESSAGES,
  });
  yield answer.choices[0].message.content;
}

async function* stream(baseURL, key) {
  const parts = await client(baseURL, key).chat.completions.create({
    model: "gpt-4o",
    messages: MESSAGES,
    stream: true,
  });
  for await (const part of parts) yield part.choices[0].delta.content ?? "";
}

// The helper that puts a stream together, and the names it gives to the whole.
async function* helper(baseURL, key) {
  const events = client(baseURL, key).chat.completions.stream({ model: "gpt-4o", messages: MESSAGES });
  const whole = await events.finalChatCompletion();
  if (whole.model !== "gpt-4o" || whole.choices[0].message.role !== "assistant")
    throw new Error(JSON.stringify(whole));
  yield whole.choices[0].message.content;
}

async function* tools(baseURL, key) {
  const answer = await client(baseURL, key).chat.completions.create({
    model: "gpt-4o",
    messages: MESSAGES,
    tools: [TOOL],
  });
  const call = answer.choices[0].message.tool_calls[0].function;
  yield called(call.name, JSON.parse(call.arguments));
}

async function* embeddings(baseURL, key) {
  const answer = await client(baseURL, key).embeddings.create({
    model: "text-embedding-3-small",
    input: PROMPT,
  });
  yield listed(answer.data[0].embedding);
}

async function* image(baseURL, key) {
  const answer = await client(baseURL, key).images.generate({
    model: "dall-e-3",
    prompt: PROMPT,
    response_format: "b64_json",
  });
  yield String(Buffer.from(answer.data[0].b64_json, "base64").length);
}

await serve({ chat, stream, helper, tools, embeddings, image });
