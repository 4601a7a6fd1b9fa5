// Entities over REST with fetch: node examples/node/entities_rest.mjs http://localhost:8601 ner "Alex Rivera lives in Springfield."
const [url, model, text] = process.argv.slice(2);

const response = await fetch(`${url}/v1/models/${model}:entities`, {
  method: "POST",
  headers: { "Content-Type": "application/json" }, // with API keys, also: Authorization: `Bearer ${key}`
  body: JSON.stringify({ texts: [text], offset_unit: "utf16" }), // JavaScript counts in UTF-16
});
const answer = await response.json();
if (answer.error) throw new Error(answer.error.message);
for (const { label, start, end, score } of answer.results[0].entities) {
  console.log(label, text.slice(start, end), score.toFixed(2));
}
