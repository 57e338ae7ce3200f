import { expect, it } from "vitest";
import { parseTrace } from "./exec-clock.ts";

it("reads the kernel's lines, file names with spaces and process names with brackets too", () => {
  const text = `# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
           sleep-14150   [000] .....  1900.364608: sched_process_exec: filename=/bin/sleep pid=14150 old_pid=14150
 a [b] c: d-31   [001] .....  1900.400000: sched_process_exec: filename=/tmp/with space pid=31 old_pid=31
           sleep-14150   [000] d....  1900.500000: sched_process_exit: comm=sleep pid=14150 prio=120
`;
  expect(parseTrace(text)).toEqual([
    { pid: 14150, file: "/bin/sleep", at: 1_900_364.608 },
    { pid: 31, file: "/tmp/with space", at: 1_900_400 },
  ]);
});
