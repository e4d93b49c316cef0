package main

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// lacks says where `got` lacks what is `wanted`, or "". Objects may have more members than are wanted; all else is equal.
func lacks(path string, wanted, got any) string {
	switch wanted := wanted.(type) {
	case map[string]any:
		members, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %s, and wanted is %s", path, text(got), text(wanted))
		}
		for name, value := range wanted {
			member, there := members[name]
			if !there {
				return fmt.Sprintf("%s has no %s: %s", path, name, text(got))
			}
			if problem := lacks(path+"."+name, value, member); problem != "" {
				return problem
			}
		}
		return ""
	case []any:
		elements, ok := got.([]any)
		if !ok || len(elements) != len(wanted) {
			return fmt.Sprintf("%s is %s, and wanted is %s", path, text(got), text(wanted))
		}
		for i, value := range wanted {
			if problem := lacks(fmt.Sprintf("%s[%d]", path, i), value, elements[i]); problem != "" {
				return problem
			}
		}
		return ""
	}
	if !reflect.DeepEqual(wanted, got) {
		return fmt.Sprintf("%s is %s, and wanted is %s", path, text(got), text(wanted))
	}
	return ""
}

func text(value any) string {
	const most = 400
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	if len(data) > most {
		return string(data[:most]) + "…"
	}
	return string(data)
}
