// Reads the status of URL with the statuspage.io package, every call of it; prints the answers.
import { createRequire } from "node:module";

const { Statuspage } = createRequire(import.meta.url)("statuspage.io");

const client = new Statuspage("mirrorgate");
client.setApiUrl(process.argv[2]);
const { api } = client;
console.log(JSON.stringify({
  summary: await api.getSummary(),
  status: await api.getStatus(),
  components: await api.getComponents(),
  incidents: await api.incidents.getAll(),
  unresolved: await api.incidents.getUnresolved(),
  maintenances: await api.scheduledMaintenances.getAll(),
}));
