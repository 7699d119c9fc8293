// Package testprocess builds the real `shares` program and runs it as processes of its own, so that a suite sees what an operator
// sees: start lines, ports, signals, exit codes. The contract, fault and benchmark suites under test/ use it; the service must not.
// Start and Once need no testing.TB and leave ending the process to the caller; Run ends it with the test and fails the test when
// the program did not end well. Storage comes from internal/testenv.
package testprocess
