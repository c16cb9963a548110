// What the Node programs share: saying what was checked, and asking the runner for something.
import { createInterface } from "node:readline";

export const TENANT_A = Number(process.env.TENANT_A);
export const TENANT_B = Number(process.env.TENANT_B);
// How long the token of the renewal's check is good; it is waited for.
export const BRIEF_S = 2;

const answers = createInterface({ input: process.stdin });
const waiting = [];
answers.on("line", (line) => waiting.shift()(line));
// A program ends when its work is done, not when the runner hangs up.
answers.on("resume", () => process.stdin.unref?.());
process.stdin.unref?.();

export function ok(check, seen) {
	console.log(`ok ${check}: ${seen}`);
}

export function none(check, why) {
	console.log(`none ${check}: ${why}`);
}

export function ask(...words) {
	process.stdin.ref?.();
	return new Promise((resolve) => {
		waiting.push((line) => {
			if (waiting.length === 0) process.stdin.unref?.();
			resolve(line);
		});
		console.log(["ask", ...words].join(" "));
	});
}

// Stands for the program's own way to a token: its identity provider.
export function fetchToken(tenant, seconds) {
	return ask("token", tenant, ...(seconds ? [seconds] : []));
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function equal(got, wanted) {
	if (JSON.stringify(got) !== JSON.stringify(wanted))
		throw new Error(`got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
}

// The error that the promise ends with, whose code must be that one.
export async function refused(promise, code) {
	const error = await promise.then(() => null, (e) => e);
	if (!error) throw new Error("was not refused");
	if (code && error.code !== code) throw error;
	return error;
}
