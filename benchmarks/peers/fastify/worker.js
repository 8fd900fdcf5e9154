// The worker: writes the status of each payment.
"use strict";

const { Worker } = require("bullmq");
const Redis = require("ioredis");
const { Pool } = require("pg");

const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const BOOK =
  "insert into payments (unique_id, status) values ($1, $2) " +
  "on conflict (unique_id) do update set status = excluded.status";

new Worker(
  "notifications",
  async (job) => {
    await pool.query(BOOK, [job.data.unique_id, job.data.status]);
  },
  {
    connection: new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null }),
    // The default is one job at a time.
    concurrency: 50,
  }
);
