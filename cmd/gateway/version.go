package main

import "runtime/debug"

// versionText is the version the linker was told, else the one the build knows: that of the module, or the commit.
func versionText() string {
	text := version
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return text
	}
	if text == "" {
		text = info.Main.Version
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	if revision != "" {
		text += " (" + revision + modified + ")"
	}
	return text + " " + info.GoVersion
}
