// Vercel's AI SDK, with the provider that PROVIDER names.

import { embed, generateImage, generateText, jsonSchema, streamText, tool } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { PROMPT, TOOL, called, listed, serve } from "./loop.mjs";

const { description, parameters } = TOOL.function;
const weather = tool({ description, inputSchema: jsonSchema(parameters) });

const compatible = process.env.PROVIDER === "openai-compatible";
const provider = (baseURL, apiKey) =>
  compatible
    ? createOpenAICompatible({ name: "mirrorgate", baseURL, apiKey })
    : createOpenAI({ baseURL, apiKey });
const model = (...where) => (compatible ? provider(...where)("gpt-4o") : provider(...where).chat("gpt-4o"));

async function* chat(...where) {
  yield (await generateText({ model: model(...where), prompt: PROMPT, maxRetries: 0 })).text;
}

async function* stream(...where) {
  let failure;
  const onError = ({ error }) => (failure ??= error);
  const answer = streamText({ model: model(...where), prompt: PROMPT, maxRetries: 0, onError });
  yield* answer.textStream;
  if (failure) throw failure instanceof Error ? failure : Object.assign(new Error(), failure);
}

async function* helper(...where) {
  const answer = streamText({ model: model(...where), prompt: PROMPT, maxRetries: 0 });
  await answer.consumeStream();
  const { modelId } = await answer.response;
  if (modelId !== "gpt-4o") throw new Error(modelId);
  yield answer.text;
}

// What an app with OpenAI's provider does unless it says `.chat`: the Responses API.
async function* responses(...where) {
  const answer = streamText({ model: provider(...where)("gpt-4o"), prompt: PROMPT, maxRetries: 0 });
  yield* answer.textStream;
}

async function* tools(...where) {
  const tools = { weather };
  const answer = await generateText({ model: model(...where), prompt: PROMPT, tools, maxRetries: 0 });
  yield called(answer.toolCalls[0].toolName, answer.toolCalls[0].input);
}

async function* embeddings(...where) {
  const embedder = provider(...where).textEmbeddingModel("text-embedding-3-small");
  yield listed((await embed({ model: embedder, value: PROMPT, maxRetries: 0 })).embedding);
}

async function* image(...where) {
  const painter = provider(...where).imageModel("dall-e-3");
  const answer = await generateImage({ model: painter, prompt: PROMPT, maxRetries: 0 });
  yield String(answer.image.uint8Array.length);
}

await serve({ chat, stream, helper, responses, tools, embeddings, image });
