// Validate objects of operators, an array in JSON on standard input, by what their projects' types say.
import { readFileSync } from "node:fs";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const kinds = { ScaledObject, ServiceMonitor, PrometheusRule };
for (const one of JSON.parse(readFileSync(0))) {
  new kinds[one.kind](one).validate(); // throws, and names the member
  console.log(one.kind);
}
