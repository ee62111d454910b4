// All workflows of the scenarios, in one bundle.
export * from './activities.mjs';
export * from './messages.mjs';
export * from './runs.mjs';
export * from './scopes.mjs';
export * from './others.mjs';
