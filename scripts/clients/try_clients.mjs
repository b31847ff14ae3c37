// Unmodified clients in JavaScript against a running server. argv: its base URL.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";

const base = `${process.argv[2].replace(/\/$/, "")}/v1`;
const ask = "Name a fruit.";
const schema = {
  type: "object",
  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
  required: ["city"],
  additionalProperties: false,
};

async function openai() {
  const client = new OpenAI({ baseURL: base, apiKey: "any", maxRetries: 0 });
  const messages = [{ role: "user", content: ask }];
  const made = await client.chat.completions.create({
    model: "any", messages, max_completion_tokens: 8, presence_penalty: 0.5, logit_bias: { 5: -100 }, seed: 1,
  });
  assert.equal(typeof made.choices[0].message.content, "string");
  let text = "";
  const stream = await client.chat.completions.create({ model: "any", messages, max_tokens: 8, stream: true });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  assert.ok(text);
  const tools = [{ type: "function", function: { name: "weather", parameters: schema } }];
  const called = await client.chat.completions.create({ model: "any", messages, tools, tool_choice: "required" });
  assert.equal(called.choices[0].message.tool_calls[0].function.name, "weather");
  const long = [{ role: "user", content: "a b c ".repeat(20000) }];
  await assert.rejects(client.chat.completions.create({ model: "any", messages: long }),
    (error) => error.code === "context_length_exceeded");
}

async function aiSdk() {
  const model = createOpenAICompatible({ name: "local", baseURL: base, supportsStructuredOutputs: true })("any");
  const options = { model, prompt: ask, maxRetries: 0, seed: 1, presencePenalty: 0.5, frequencyPenalty: 0.5, topK: 20 };
  const made = await generateText({ ...options, maxOutputTokens: 8, stopSequences: [] });
  assert.ok(made.usage.outputTokens > 0);
  let text = "";
  for await (const piece of streamText({ ...options, maxOutputTokens: 8 }).textStream) text += piece;
  assert.ok(text);
  const { object } = await generateObject({ ...options, schema: jsonSchema(schema), maxOutputTokens: 100 });
  assert.ok(["Rome", "Oslo"].includes(object.city));
  const weather = tool({ description: "Weather", inputSchema: jsonSchema(schema), execute: async () => "sunny" });
  const called = await generateText({
    ...options, tools: { weather }, toolChoice: "required", stopWhen: stepCountIs(1), maxOutputTokens: 100,
  });
  assert.equal(called.toolCalls[0].toolName, "weather");
}

let failed = 0;
for (const [name, check] of Object.entries({ openai, "@ai-sdk/openai-compatible": aiSdk })) {
  try {
    await check();
    console.log(`npm ${name}: passed`);
  } catch (error) {
    failed += 1;
    console.log(`npm ${name}: FAILED\n${error.stack}\n${error.responseBody ?? ""}`);
  }
}
process.exit(failed);
