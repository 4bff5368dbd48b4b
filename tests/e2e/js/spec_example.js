import axios from 'axios';
const client = axios.create({
baseURL: 'http://localhost:3000',
headers: {
'Authorization': `Bearer ${token}`
}
});
// Register agent
const response = await client.post('/api/agents', {
agentId: 'agent-uuid',
name: 'my-agent',
version: '0.2.0',
capabilities: ['fix-bug']
});
// Get pending commands
const commands = await client.get('/api/agents/agent-id/commands');
// Report progress
await client.post('/api/tasks/task-id/progress', {
status: 'in_progress',
progress: 0.5,
step: 'Running tests'
});
// Complete task
await client.post('/api/tasks/task-id/complete', {
success: true,
summary: 'Task completed',
prUrl: 'https://github.com/...'
});
