// Fastify and BullMQ, as their documentation puts them together: signature, then SET NX against repeats, then a job with
// the fields, then the echo. `node server.js PORT`; the worker is worker.js.
"use strict";

const { createHash, timingSafeEqual } = require("node:crypto");
const { Queue } = require("bullmq");
const fastify = require("fastify");
const Redis = require("ioredis");

const PASSWORD = process.env.EMP_API_PASSWORD;
const DAY_S = 86400;

const redis = new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null });
const queue = new Queue("notifications", {
  connection: redis,
  defaultJobOptions: { removeOnComplete: true, removeOnFail: 1000 },
});

const app = fastify({ logger: false });
app.register(require("@fastify/formbody"));

app.get("/health", async () => ({ status: "ok" }));

app.post("/api/webhooks/emp", async (request, reply) => {
  const fields = request.body;
  const id = fields.unique_id ?? "";
  const expected = createHash("sha1").update(id + PASSWORD).digest("hex");
  const claimed = Buffer.from(fields.signature ?? "");
  if (claimed.length !== expected.length || !timingSafeEqual(Buffer.from(expected), claimed)) {
    return reply.code(401).send({ error: "Invalid signature" });
  }
  const key = `seen:${id}:${fields.status}:${fields.event ?? ""}`;
  if ((await redis.set(key, 1, "EX", DAY_S, "NX")) === "OK") {
    await queue.add("book", fields);
  }
  return reply
    .type("application/xml")
    .send(
      `<?xml version="1.0" encoding="UTF-8"?>\n<notification_echo><unique_id>${id}</unique_id></notification_echo>\n`
    );
});

app.listen({ host: "127.0.0.1", port: Number(process.argv[2]) });
