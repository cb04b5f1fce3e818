// An MCP client of the official JavaScript SDK. It runs the command that it is
// given, lists the tools and makes the calls that it reads from the environment
// as JSON: [{name, arguments}, ...]. It prints one line of JSON for each.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const [command, ...args] = process.argv.slice(2);
const client = new Client({ name: "js-agent", version: "1" });
await client.connect(new StdioClientTransport({ command, args, env: process.env }));
const { tools } = await client.listTools();
console.log(JSON.stringify({ tools: tools.map((t) => t.name) }));
for (const call of JSON.parse(process.env.CALLS)) {
  const result = await client.callTool(call);
  console.log(JSON.stringify({ error: Boolean(result.isError), text: result.content[0].text }));
}
await client.close();
