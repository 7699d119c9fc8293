// Package page has no code of its own: its tests open the page of dev mode in Chromium, against the running program, and use it as
// a person would: controls are found by the role and name that a screen reader tells, and clicked or typed into where they are on
// the screen. With -update-screenshot the story writes docs/page.png, the picture in the README. Nothing imports it.
package page
