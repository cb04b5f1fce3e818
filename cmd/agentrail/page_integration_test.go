//go:build integration

package main

import _ "github.com/chromedp/chromedp"
