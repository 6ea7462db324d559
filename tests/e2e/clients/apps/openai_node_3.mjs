// OpenAI's client for Node before 4: axios, whose streams its users take apart by themselves.

import { Configuration, OpenAIApi } from "openai";
import { MESSAGES, PROMPT, TOOL, called, listed, serve } from "./loop.mjs";

const client = (basePath, apiKey) => new OpenAIApi(new Configuration({ basePath, apiKey }));

async function* chat(basePath, key) {
  const answer = await client(basePath, key).createChatCompletion({
    model: "gpt-4o",
    messages: MESSAGES,
  });
  yield answer.data.choices[0].message.content;
}

// As its users learnt it: every line that is not empty is "data: " and JSON, or the end.
async function* stream(basePath, key) {
  const answer = await client(basePath, key).createChatCompletion(
    { model: "gpt-4o", messages: MESSAGES, stream: true },
    { responseType: "stream" },
  );
  let rest = "";
  for await (const bytes of answer.data) {
    const lines = (rest + bytes.toString()).split("\n");
    rest = lines.pop();
    for (const line of lines.filter((each) => each.trim() !== "")) {
      const data = line.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const part = JSON.parse(data);
      if (part.error) throw Object.assign(new Error(part.error.message), { code: part.error.code });
      yield part.choices[0].delta.content ?? "";
    }
  }
}

async function* tools(basePath, key) {
  const answer = await client(basePath, key).createChatCompletion({
    model: "gpt-4o",
    messages: MESSAGES,
    tools: [TOOL],
  });
  const call = answer.data.choices[0].message.tool_calls[0].function;
  yield called(call.name, JSON.parse(call.arguments));
}

async function* embeddings(basePath, key) {
  const answer = await client(basePath, key).createEmbedding({
    model: "text-embedding-3-small",
    input: PROMPT,
  });
  yield listed(answer.data.data[0].embedding);
}

async function* image(basePath, key) {
  const answer = await client(basePath, key).createImage({
    prompt: PROMPT,
    response_format: "b64_json",
  });
  yield String(Buffer.from(answer.data.data[0].b64_json, "base64").length);
}

await serve({ chat, stream, tools, embeddings, image });
