/* What is counted for each pool of each worker, on the worker's thread, as plain numbers that only
 * grow; the console adds them up. A name ends in its unit where it is not a count.
 *
 * COUNTER(name, "what it is")
 *
 * No include guard: whoever includes this defines the macro first. */
COUNTER(xact_count, "Transactions ended")
COUNTER(query_count, "Queries (a simple Query, or an extended batch up to Sync) ended")
COUNTER(received_bytes, "Bytes received from clients")
COUNTER(sent_bytes, "Bytes sent to clients")
COUNTER(xact_time_us, "Time in transactions, from the first statement sent to the last reply")
COUNTER(query_time_us, "Time from a query's sending to its ReadyForQuery")
COUNTER(wait_time_us, "Time that clients waited for a server")
