// A foreign client: k6 calls DecisionService/Decide by the .proto files alone, at a constant arrival rate (open model), and checks every
// answer. Settings by environment: TARGET, PROTOS (folder that holds hearth/v1), RATE, SECONDS, CHANNELS, PREFIX, DIGITS, FIRST, LAST, RUN.
import grpc from "k6/net/grpc";
import exec from "k6/execution";
import { check } from "k6";
import { Counter } from "k6/metrics";

const TARGET = __ENV.TARGET || "127.0.0.1:9000";
const RATE = Number(__ENV.RATE || 100);
const SECONDS = Number(__ENV.SECONDS || 30);
const CHANNELS = (__ENV.CHANNELS || "app").split(",");
const FIRST = Number(__ENV.FIRST || 0);
const LAST = Number(__ENV.LAST || 999);
const PREFIX = __ENV.PREFIX || "H";
const DIGITS = Number(__ENV.DIGITS || 6);
const RUN = __ENV.RUN || "run";

const client = new grpc.Client();
client.load([__ENV.PROTOS || "../protos"], "hearth/v1/decision.proto");

const errors = new Counter("decide_errors");
const actions = new Counter("decide_actions");
let connected = false;

export const options = {
  scenarios: {
    decide: {
      executor: "constant-arrival-rate",
      rate: RATE,
      timeUnit: "1s",
      duration: `${SECONDS}s`,
      // Enough that a stall of half a second delays no arrival.
      preAllocatedVUs: Math.max(50, Math.ceil(RATE / 2)),
      maxVUs: Math.max(100, RATE * 2),
    },
  },
  thresholds: {
    decide_errors: ["count==0"],
    checks: ["rate==1"],
    dropped_iterations: ["count==0"],
  },
  summaryTrendStats: ["min", "med", "p(90)", "p(99)", "max"],
};

// RFC 3339 to microseconds; Date.parse keeps milliseconds only, and drops digits after the third in some engines.
function micros(timestamp) {
  const parts = /^(.*?)(?:\.(\d+))?Z$/.exec(timestamp);
  return Date.parse(`${parts[1]}Z`) * 1000 + Number(((parts[2] || "") + "000000").slice(0, 6));
}

function carriedByAsker(answer, channel) {
  return !answer.action || (!!answer.action.treatment && answer.action.treatment.channel === channel);
}

function stillValid(answer) {
  return !answer.action || micros(answer.action.validUntil) > micros(answer.decidedAt);
}

export default function () {
  if (!connected) {
    client.connect(TARGET, { plaintext: true, timeout: "10s" });
    connected = true;
  }
  const number = exec.scenario.iterationInTest;
  const channel = CHANNELS[number % CHANNELS.length];
  const household = PREFIX + String(FIRST + (number % (LAST - FIRST + 1))).padStart(DIGITS, "0");
  const response = client.invoke(
    "hearth.v1.DecisionService/Decide",
    { request_id: `${RUN}-${number}`, household: household, channel: channel },
    { timeout: "5s" },
  );
  const answer = response.message || {};
  const answered = response.status === grpc.StatusOK;
  if (!answered) {
    errors.add(1);
    console.error(`Decide ${RUN}-${number}: status ${response.status} ${JSON.stringify(response.error)}`);
  }
  if (answered && answer.action) actions.add(1);
  check(response, {
    "status is OK": () => answered,
    "a decision id": () => answered && answer.decisionId !== "",
    "at least one reason": () => answered && answer.reasons.length > 0 && answer.reasons.every((one) => one !== ""),
    "not a repeated request": () => answered && !answer.repeatedRequest,
    "a treatment for the channel that asks": () => answered && carriedByAsker(answer, channel),
    "valid after it was decided": () => answered && stillValid(answer),
  });
}

function value(data, metric, key) {
  return data.metrics[metric] ? data.metrics[metric].values[key] : 0;
}

// One JSON line on stdout; people read what loadtest/k6.py makes of it.
export function handleSummary(data) {
  const thresholds = Object.entries(data.metrics).flatMap(([name, metric]) =>
    Object.entries(metric.thresholds || {}).map(([rule, result]) => ({ rule: `${name} ${rule}`, ok: result.ok })),
  );
  const checks = data.root_group.checks.map((one) => ({ name: one.name, passes: one.passes, fails: one.fails }));
  const latency = data.metrics.grpc_req_duration ? data.metrics.grpc_req_duration.values : {};
  const summary = {
    calls: value(data, "iterations", "count"),
    per_s: value(data, "iterations", "rate"),
    errors: value(data, "decide_errors", "count"),
    dropped: value(data, "dropped_iterations", "count"),
    actions: value(data, "decide_actions", "count"),
    checks: checks,
    thresholds: thresholds,
    latency_ms: { p50: latency.med, p90: latency["p(90)"], p99: latency["p(99)"], max: latency.max },
  };
  return { stdout: JSON.stringify(summary) + "\n" };
}
