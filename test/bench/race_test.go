//go:build race

package main

// poolsUnderRace is what the race detector adds to a request's allocations: it
// has pools lose some of what is put back.
const poolsUnderRace = 7
