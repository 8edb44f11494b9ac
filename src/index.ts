// The public names, for programs that embed the balancer.
export { balance, ListenError } from "./balancer.ts";
export type { BalanceOptions, Balancer, BalancerEvent, Change, Hooks } from "./balancer.ts";
export { SteeringError } from "./control/steering.ts";
export type { Connection, ConnectionPage, ConnectionQuery, Mode } from "./control/steering.ts";
export type { DestinationStatus, Status, TimeStatus } from "./status.ts";
export type { AccessRecord } from "./control/access-log.ts";
export type { ConfigurationFile } from "./config/schema.ts";
export { OptionsError } from "./control/options.ts";
export type { Address, DestinationOptions, Mistake, Options } from "./control/options.ts";
export { closeReasons } from "./core/reason.ts";
export type { CloseReason } from "./core/reason.ts";
