// An MCP client of the official JavaScript SDK over streamable HTTP. It is given
// an address, lists the tools and makes the calls that it reads from the
// environment as JSON: [{name, arguments}, ...], with the token in TOKEN. With
// CONFIRM it answers the server's questions to its user so. It prints one line of
// JSON for each.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const confirm = process.env.CONFIRM;
const client = new Client({ name: "js-agent", version: "1" }, { capabilities: confirm ? { elicitation: {} } : {} });
if (confirm) client.setRequestHandler(ElicitRequestSchema, async () => ({ action: confirm, content: {} }));
const headers = { Authorization: `Bearer ${process.env.TOKEN}` };
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2]), { requestInit: { headers } }));
const { tools } = await client.listTools();
console.log(JSON.stringify({ tools: tools.map((t) => t.name) }));
for (const call of JSON.parse(process.env.CALLS)) {
  const result = await client.callTool(call);
  console.log(JSON.stringify({ error: Boolean(result.isError), text: result.content[0].text }));
}
await client.close();
