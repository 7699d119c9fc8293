//go:build !race

package main

const poolsUnderRace = 0
