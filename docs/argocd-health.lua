-- The health of a KeyPair, AuthorizedKeys or KnownHosts, for Argo CD: the value of
-- resource.customizations.health.keypairs.dev_KeyPair, …_AuthorizedKeys and …_KnownHosts in the ConfigMap argocd-cm.
local health = { status = "Progressing", message = "Waiting for the operator" }
if obj.status == nil or obj.status.conditions == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end
-- What the same sync may still bring.
local awaited = { IdempotentProcessing = true, KeyPairNotFound = true, NothingSelected = true, NotShared = true }
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Ready" then
    health.message = condition.reason .. ": " .. condition.message
    if condition.status == "True" then
      health.status = "Healthy"
    elseif not awaited[condition.reason] then
      -- Whatever it waits for, nobody can use it now.
      health.status = "Degraded"
    end
  end
end
return health
