// Package page contains only tests. They open the development page in Chromium, served by the real
// program. They find controls by their accessible role and name, and click and type like a user.
package page
