// A client's side, for Node: see loop.py.

import { createInterface } from "node:readline";

export const PROMPT = "hello";
export const MESSAGES = [{ role: "user", content: PROMPT }];
export const TOOL = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather of a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
    },
  },
};

export const called = (name, { city }) => `${name}({"city": ${JSON.stringify(city)}})`;
export const listed = (numbers) => `[${numbers.join(", ")}]`;

// A step is an async generator over (base URL, key) that yields text.
export async function serve(steps) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { step, base_url, key } = JSON.parse(line);
    let said = "";
    let error = null;
    try {
      for await (const piece of steps[step](base_url, key)) said += piece;
    } catch (raised) {
      error = {
        type: raised.name === "Error" ? raised.constructor.name : raised.name,
        status: raised.status ?? raised.statusCode ?? raised.response?.status ?? null,
        code: raised.code ?? null,
        message: String(raised.message ?? JSON.stringify(raised)),
      };
    }
    console.log(JSON.stringify({ said, error }));
  }
}
