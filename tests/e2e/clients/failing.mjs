// One streamed request with OpenAI's own client for Node: what was said, and how it ended.
//
// Environment: BASE_URL (with /v1), API_KEY, KIND (chat, completions or responses).
// Prints one JSON line: {"said", "code"}; the code is null when the stream ended well.

import OpenAI from "openai";

const settings = { baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 };
const client = new OpenAI(settings);
const PROMPT = "hello";

const kinds = {
  chat: async () => {
    const messages = [{ role: "user", content: PROMPT }];
    return client.chat.completions.create({ model: "gpt-4o", messages, stream: true });
  },
  completions: async () =>
    client.completions.create({ model: "gpt-3.5-turbo", prompt: PROMPT, stream: true }),
  responses: async () =>
    client.responses.create({ model: "gpt-4o", input: PROMPT, store: false, stream: true }),
};

const words = {
  chat: (event) => event.choices[0]?.delta?.content ?? "",
  completions: (event) => event.choices[0]?.text ?? "",
  responses: (event) => (event.type === "response.output_text.delta" ? event.delta : ""),
};

let said = "";
let code = null;
try {
  for await (const event of await kinds[process.env.KIND]()) said += words[process.env.KIND](event);
} catch (error) {
  code = error.code ?? error.constructor.name;
}
console.log(JSON.stringify({ said, code }));
